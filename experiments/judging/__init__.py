"""What a claim is, and how rows are judged.

Reads stored rows alone; what lives here can change a verdict, never a measurement.
"""
