"""What a device has besides its link and its addresses: one file a kind."""
