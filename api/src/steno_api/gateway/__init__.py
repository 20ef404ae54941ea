"""What the gateway and those who administer it agree on."""
