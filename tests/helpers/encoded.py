"""A count of what each expert of a model has encoded."""


def count_encoded(model):
    """Count, from now on, how many records each expert encodes."""
    counts = dict.fromkeys(model.experts, 0)

    def counter(name):
        def count(module, arguments, output):
            counts[name] += len(output.pooler_output)

        return count

    for name, expert in model.experts.items():
        expert.register_forward_hook(counter(name))
    return counts
