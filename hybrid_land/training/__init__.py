"""Training the emulator."""
