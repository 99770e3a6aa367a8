"""What proofs share to see a symptom: each module stands alone and needs no test run."""
