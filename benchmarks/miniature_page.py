def write_page(folder):
    raise NotImplementedError
