"""Datasets on the Hugging Face Hub, or wherever HF_ENDPOINT says."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from tutelage.errors import MissingExtra, TutelageError


def download_dataset(name: str, folder: Path, choose: Callable[[list[str]], Iterable[str]]) -> str:
    """Fetch of the dataset `name`, as owner/name, the files that `choose` picks from those that it has; its commit.

    HF_TOKEN opens private ones. Raises TutelageError where they cannot be had.
    """
    try:
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hub") from error
    import httpx2

    endpoint = os.environ.get("HF_ENDPOINT")  # huggingface_hub itself reads it only when it is first imported
    where = endpoint or "the Hugging Face Hub"
    try:
        api = HfApi(endpoint=endpoint, token=get_token(), library_name="tutelage")
        head = api.dataset_info(name)
        for file in choose([sibling.rfilename for sibling in head.siblings or ()]):
            api.hf_hub_download(name, file, repo_type="dataset", revision=head.sha, local_dir=folder)
        return str(head.sha)
    except HFValidationError:
        raise TutelageError(f'"{name}" is no folder, and no name of a dataset like owner/name.') from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise TutelageError(
            f"{where} did not give the dataset {name} (HTTP {status}). Check its name, and HF_TOKEN if it is private."
        ) from error
    except (httpx2.HTTPError, OSError) as error:
        raise TutelageError(f"{where} could not be reached ({error}). Check the network and HF_ENDPOINT.") from error
