"""What a study found, told: tables and plots from its cells. It runs nothing, and reads no record but for pictures."""
