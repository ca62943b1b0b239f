"""A fault says which service call failed and how, and nothing of what was sent."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from imagelake.errors import Fault, ImageLakeError, Rejection
from imagelake.stores.session import calling


def test_a_fault_names_code_and_operation_but_not_what_was_sent() -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "holiday.jpg is not yours"}}, "GetObject")

    with pytest.raises(Fault) as fault, calling("GetObject"):
        raise denied

    assert str(fault.value) == "AccessDenied on GetObject"
    assert fault.value.__cause__ is denied


def test_a_service_out_of_reach_is_a_fault() -> None:
    with pytest.raises(Fault, match=r"^EndpointConnectionError on Query$"), calling("Query"):
        raise EndpointConnectionError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")


def test_errors_of_our_own_pass_unchanged() -> None:
    with pytest.raises(KeyError), calling("GetItem"):
        raise KeyError("sub")


def test_a_rejection_reads_as_its_code_and_its_detail() -> None:
    rejection = Rejection("checksum_mismatch", "the file differs")

    assert str(rejection) == "checksum_mismatch: the file differs"
    assert (rejection.code, rejection.detail) == ("checksum_mismatch", "the file differs")


def test_one_base_catches_all_that_is_raised_on_purpose() -> None:
    assert all(issubclass(kind, ImageLakeError) for kind in (Fault, Rejection))
