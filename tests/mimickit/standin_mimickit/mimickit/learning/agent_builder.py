import yaml


def build_agent(agent_file):
    with open(agent_file) as file:
        config = yaml.safe_load(file)
    assert 0 < config["discount"] <= 1
    if config["agent_name"] == "PPO":
        assert isinstance(config["actor_optimizer"]["learning_rate"], float)
    elif config["agent_name"] == "AMP":
        assert config["disc_grad_penalty"] > 0
    return config
