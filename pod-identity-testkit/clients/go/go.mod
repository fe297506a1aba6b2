module github.com/pod-identity/pod-identity/pod-identity-testkit/clients/go

go 1.24
