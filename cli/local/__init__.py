"""The command `./deploy.sh local`: the whole system on this machine, with the embedded cloud."""
