"""Code generators of the repository: CustomResourceDefinitions and the API reference, from the models in `api/`."""
