"""What every part of the program asks of the machine it runs on."""
