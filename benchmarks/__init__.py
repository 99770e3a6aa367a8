"""What our tools and the code that the rules teach cost, each against something in the same run."""
