"""The default job on real pictures: the engine, its peers and the floor, measured in one run."""
