"""Matrix products and what reduces to them."""


def pays(contract):
    return False


def workspace(contract):
    return 0
