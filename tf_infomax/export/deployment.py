"""Files that TensorFlow Serving is started with, beside the versions of a model."""

from pathlib import Path

from tf_infomax.export.recording import WARMUP_SIZES
from tf_infomax.runtime.files import replacing

_MODELS = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""

# A lone request waits at most a millisecond for others. Batches are padded to the
# allowed sizes, each of which has been warmed up.
_BATCHING = """\
max_batch_size {{ value: {largest} }}
batch_timeout_micros {{ value: 1000 }}
max_enqueued_batches {{ value: 256 }}
num_batch_threads {{ value: 2 }}
{allowed}
"""

# gRPC has four threads a core by default, and refuses requests beyond them.
_COMPOSE = """\
# docker compose --profile cpu up      (or: --profile gpu)
# gRPC on 8500, REST on 8501.
x-serving: &serving
  ports: ["8500:8500", "8501:8501"]
  volumes: [".:/models/{name}:ro"]
  command:
    - --model_config_file=/models/{name}/models.config
    - --enable_batching
    - --batching_parameters_file=/models/{name}/batching_parameters.txt
    - --file_system_poll_wait_seconds=5
    - --grpc_max_threads=64
    - --rest_api_num_threads=16
services:
  cpu:
    <<: *serving
    image: tensorflow/serving:latest
    profiles: [cpu]
    environment: {{TF_ENABLE_ONEDNN_OPTS: "1"}}
  gpu:
    <<: *serving
    image: tensorflow/serving:latest-gpu
    profiles: [gpu]
    deploy:
      resources:
        reservations:
          devices: [{{driver: nvidia, count: all, capabilities: [gpu]}}]
"""


def write_deployment(folder: Path) -> None:
    """Writes what is missing of models.config, batching_parameters.txt, compose.yaml.

    Files that exist are the user's by now and stay as they are.
    """
    allowed = "\n".join(f"allowed_batch_sizes: {size}" for size in WARMUP_SIZES)
    values = {"name": folder.name, "largest": max(WARMUP_SIZES), "allowed": allowed}
    for name, template in (
        ("models.config", _MODELS),
        ("batching_parameters.txt", _BATCHING),
        ("compose.yaml", _COMPOSE),
    ):
        if not (folder / name).exists():
            with replacing(folder / name) as file:
                file.write_text(template.format(**values), encoding="utf-8")
