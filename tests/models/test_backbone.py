from aepipe.models.backbone import best_for, find, names


def test_the_folder_is_the_registry() -> None:
    assert {"conv", "mlp"} <= set(names())
    for name in names():
        trunk = find(name)
        assert trunk.name == name
        assert trunk.summary
        assert trunk.kinds


def test_each_kind_of_row_has_a_trunk_that_is_best_at_it() -> None:
    assert best_for("table") == "mlp"
    assert best_for("image") == "conv"


def test_options_have_defaults_and_say_what_they_are() -> None:
    for name in names():
        options = find(name).options
        options()
        for field in options.model_fields.values():
            assert field.description or field.annotation is not None
