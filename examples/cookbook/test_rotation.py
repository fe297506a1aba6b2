import boto3


def test_a_token_that_kubelet_replaced_is_not_sent_again(pod_identity_agent):
    # With less than 15 minutes left, botocore refreshes before it signs again.
    pod_identity_agent.fault(expires_in="14m", always=True)
    credentials = boto3.Session().get_credentials()
    pod_identity_agent.rotate()
    credentials.get_frozen_credentials()
    first, second = pod_identity_agent.requests()
    assert first["token"] != second["token"]
    assert second["token_age"] == 0
