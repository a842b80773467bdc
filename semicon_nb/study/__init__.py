"""What only our own experiments use: defects of the released code, and one knob turned at a time."""
