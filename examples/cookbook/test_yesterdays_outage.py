import boto3


def test_an_outage_while_credentials_are_held_goes_unnoticed(pod_identity_agent):
    # With less than 15 minutes left, botocore refreshes before it signs again.
    pod_identity_agent.fault(expires_in="14m", always=True)
    credentials = boto3.Session().get_credentials()
    before = credentials.get_frozen_credentials().access_key

    pod_identity_agent.fault(error="ThrottlingException", always=True)
    assert credentials.get_frozen_credentials().access_key == before
    pod_identity_agent.clear_faults()
    statuses = [request["outcome"]["status"] for request in pod_identity_agent.requests()]
    assert statuses[-3:] == [429, 429, 429]
