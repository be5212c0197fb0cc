import numpy as np
import pandas as pd
import pytest

from poolvox.shared.config import Model
from poolvox.shared.errors import InputError
from poolvox.shared.profiles.learn.encoder import EmbeddingsConfig, embed_objects, embed_step
from poolvox.shared.profiles.tables.datasets import ObjectTables
from poolvox.shared.store import create_plate, read_table, write_table

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Two tiles of 16 bright squares each; every second one is bright in the marker as well."""
    plate = create_plate(tmp_path_factory.mktemp("plate") / "p.zarr", {"A1": ["1", "2"]})
    for tile in ("1", "2"):
        labels = np.zeros((96, 96), np.int32)
        for k in range(16):
            y, x = 8 + 24 * (k // 4), 8 + 24 * (k % 4)
            labels[y : y + 10, x : x + 10] = k + 1
        pixels = np.stack([1000 * (labels > 0), 1000 * ((labels > 0) & (labels % 2 == 0))])
        field = plate["A1"][tile]
        field.write((pixels + 100).astype(np.uint16), axes="cyx", spacing={"y": 0.5, "x": 0.5},
                    channels=["DAPI", "marker"])  # fmt: skip
        field.write_labels("cells", labels)
    return plate


@pytest.fixture
def objects():
    labels = np.tile(np.arange(1, 17), 2)
    return pd.DataFrame(
        {
            "Metadata_Plate": "P1",
            "Metadata_Well": "A1",
            "Metadata_Tile": np.repeat(["1", "2"], 16),
            "Metadata_Label": labels,
            "Metadata_Y": 12.5 + 24 * ((labels - 1) // 4),
            "Metadata_X": 12.5 + 24 * ((labels - 1) % 4),
            "Cells_Shape_Area_um2": np.full(32, 25.0, np.float32),
        }
    )


@pytest.fixture(scope="module")
def means(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "means.keras"
    inputs = keras.Input((16, 16, 2))
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save(path)
    return path


def test_a_network_from_a_file_gives_columns_beside_the_measured_ones(
    plate, objects, means, tmp_path
):
    table = write_table(objects, tmp_path / "objects.parquet")
    config = EmbeddingsConfig(model=means, pixels=16)
    found = embed_step(table, plate, config, tmp_path / "both.parquet", tmp_path / "encoder")
    both = read_table(tmp_path / "both.parquet")
    assert list(both)[-3:] == ["Cells_Shape_Area_um2", "Cells_Embedding_001", "Cells_Embedding_002"]
    pd.testing.assert_frame_equal(both[list(objects)], objects)
    marker = both["Cells_Embedding_002"].to_numpy()
    even = objects["Metadata_Label"] % 2 == 0
    assert marker[even].min() > marker[~even].max() + 0.2
    # 1.5 diameters of a disk of 25 square micrometres.
    assert found.facts["size_um"] == pytest.approx(1.5 * np.sqrt(4 * 25 / np.pi))
    assert found.facts["channels"] == ["DAPI", "marker"]
    assert ObjectTables((tmp_path / "both.parquet",)).features[-1] == "Cells_Embedding_002"


def test_objects_without_a_place_have_none(plate, objects, means, tmp_path):
    objects.loc[3, "Metadata_Y"] = np.nan
    config = EmbeddingsConfig(model=means, pixels=16)
    found = embed_objects(plate, objects, config, tmp_path)
    assert np.isnan(found.values).all(axis=1).tolist() == [k == 3 for k in range(32)]
    with pytest.raises(InputError, match="no object has a position"):
        embed_objects(plate, objects.assign(Metadata_Y=np.nan), config, tmp_path)


def test_crops_that_do_not_fit_are_refused_before_any_work(plate, objects, means, tmp_path):
    with pytest.raises(InputError, match=r"takes 16 x 16 x 2, the crops are 24 x 24 x 2"):
        embed_objects(plate, objects, EmbeddingsConfig(model=means, pixels=24), tmp_path)
    with pytest.raises(InputError, match=r"the crops are 16 x 16 x 1"):
        embed_objects(plate, objects, EmbeddingsConfig(model=means, pixels=16), tmp_path,
                      channels=["DAPI"])  # fmt: skip


def test_an_encoder_of_the_experiment_itself(plate, objects, tmp_path):
    config = EmbeddingsConfig(pixels=12, dimensions=6, steps=3, channels=("marker",))
    found = embed_objects(plate, objects, config, tmp_path)
    assert found.values.shape == (32, 6)
    assert np.isfinite(found.values).all()
    assert (tmp_path / "encoder.keras").is_file()
    assert found.facts["crops"] == 32
    again = embed_objects(plate, objects, config, tmp_path)
    np.testing.assert_allclose(again.values, found.values, atol=1e-5)


def test_the_block_of_a_configuration(tmp_path):
    class Holder(Model):
        embeddings: EmbeddingsConfig | None = None

    assert Holder.model_validate({"embeddings": {}}).embeddings.model == "self"
    found = Holder.model_validate({"embeddings": {"model": "n.onnx"}}, context={"folder": tmp_path})
    assert found.embeddings.model == tmp_path / "n.onnx"
