"""Labelled frames: read from the files of many programs, checked, written as DeePMD npy folders and read back."""
