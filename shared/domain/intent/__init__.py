"""What is wanted of one person: from facts, from requests, from decisions."""
