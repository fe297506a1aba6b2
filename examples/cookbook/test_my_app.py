import boto3


def access_key():  # the app
    return boto3.Session().get_credentials().get_frozen_credentials().access_key


def test_a_throttled_agent_goes_unnoticed(pod_identity_agent):
    pod_identity_agent.fault(status=503, count=2)
    key = access_key()
    requests = pod_identity_agent.requests()
    assert [request["outcome"]["status"] for request in requests] == [503, 503, 200]
    assert requests[-1]["outcome"]["access_key_id"] == key
