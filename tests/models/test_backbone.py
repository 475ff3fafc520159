from aepipe.models.backbone import best_for, find, names


def test_the_folder_is_the_registry() -> None:
    assert {"conv", "mlp"} <= set(names())
    for name in names():
        backbone = find(name)
        assert backbone.name == name
        assert backbone.summary
        assert backbone.kinds


def test_each_kind_of_row_has_a_best_backbone() -> None:
    assert best_for("table") == "mlp"
    assert best_for("image") == "conv"


def test_options_have_defaults_and_descriptions() -> None:
    for name in names():
        options = find(name).options
        options()
        for field in options.model_fields.values():
            assert field.description or field.annotation is not None
