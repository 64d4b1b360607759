import yaml


def build_engine(engine_file):
    with open(engine_file) as file:
        config = yaml.safe_load(file)
    name = config["engine_name"]
    if name == "newton":
        return config["control_freq"], config["sim_freq"]
    elif name == "isaac_gym":
        return config["control_freq"], config["ground_contact_height"]
    raise AssertionError(name)
