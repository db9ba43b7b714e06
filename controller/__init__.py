"""The controller: discovers apps, decides who should be awake, and alone starts or stops them."""
