"""`./deploy.sh local`: the whole system on this machine, over the embedded cloud."""
