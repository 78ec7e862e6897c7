system rm -rf x
