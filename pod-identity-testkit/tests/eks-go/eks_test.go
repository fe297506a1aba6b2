// Package eks drives the mock of EKS with the AWS SDK for Go: what pipelines do, and in which order eksctl
// calls EKS when it creates, lists, updates and deletes associations.
package eks

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	podidentitytestkit "github.com/pod-identity/pod-identity/pod-identity-testkit/clients/go"
)

const (
	role    = "arn:aws:iam::111122223333:role/cart"
	other   = "arn:aws:iam::111122223333:role/checkout"
	patient = 20 * time.Second
)

// start returns a client that finds the mock as one finds AWS: in the environment.
func start(t *testing.T) (*eks.Client, *string) {
	t.Helper()
	mock := podidentitytestkit.Start(t, "eks", "--signatures", "enforce")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("NO_PROXY", "127.0.0.1")
	for _, name := range mock.Unset {
		t.Setenv(name, "")
	}
	for name, value := range mock.Env {
		t.Setenv(name, value)
	}
	settings, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return eks.NewFromConfig(settings), aws.String(mock.Cluster)
}

// must returns the output of a call that succeeds.
func must[T any](t *testing.T, output T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func refused[E error](t *testing.T, err error) {
	t.Helper()
	var wanted E
	if !errors.As(err, &wanted) {
		t.Fatalf("%v, not a %T", err, wanted)
	}
}

func TestAssociationsAsEksctlManagesThem(t *testing.T) {
	client, cluster := start(t)
	ctx := t.Context()
	described, err := client.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: cluster})
	if status := must(t, described, err).Cluster.Status; status != types.ClusterStatusActive {
		t.Fatal(status)
	}

	create := &eks.CreatePodIdentityAssociationInput{
		ClusterName: cluster, Namespace: aws.String("shop"), ServiceAccount: aws.String("cart"),
		RoleArn: aws.String(role), Tags: map[string]string{"team": "web"},
	}
	created, err := client.CreatePodIdentityAssociation(ctx, create)
	id := must(t, created, err).Association.AssociationId
	// The SDK has put a clientRequestToken into the input.
	again, err := client.CreatePodIdentityAssociation(ctx, create)
	if *must(t, again, err).Association.AssociationId != *id {
		t.Fatal("the same request made another association")
	}
	another := *create
	another.ClientRequestToken = nil
	_, err = client.CreatePodIdentityAssociation(ctx, &another)
	refused[*types.ResourceInUseException](t, err)
	for _, account := range []string{"basket", "till"} {
		more := *create
		more.ServiceAccount = aws.String(account)
		more.ClientRequestToken = nil
		output, err := client.CreatePodIdentityAssociation(ctx, &more)
		must(t, output, err)
	}

	var accounts []string
	pages := eks.NewListPodIdentityAssociationsPaginator(client,
		&eks.ListPodIdentityAssociationsInput{ClusterName: cluster, MaxResults: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		for _, association := range must(t, page, err).Associations {
			accounts = append(accounts, *association.ServiceAccount)
		}
	}
	slices.Sort(accounts)
	if !slices.Equal(accounts, []string{"basket", "cart", "till"}) {
		t.Fatal(accounts)
	}

	listed, err := client.ListPodIdentityAssociations(ctx, &eks.ListPodIdentityAssociationsInput{
		ClusterName: cluster, Namespace: aws.String("shop"), ServiceAccount: aws.String("cart"),
	})
	found := must(t, listed, err).Associations
	if len(found) != 1 || *found[0].AssociationId != *id {
		t.Fatal(found)
	}
	updated, err := client.UpdatePodIdentityAssociation(ctx, &eks.UpdatePodIdentityAssociationInput{
		ClusterName: cluster, AssociationId: id, RoleArn: aws.String(other),
	})
	must(t, updated, err)
	describe := &eks.DescribePodIdentityAssociationInput{ClusterName: cluster, AssociationId: id}
	association, err := client.DescribePodIdentityAssociation(ctx, describe)
	now := must(t, association, err).Association
	if *now.RoleArn != other || now.Tags["team"] != "web" || now.OwnerArn != nil || now.ModifiedAt.Before(*now.CreatedAt) {
		t.Fatal(now)
	}

	deleted, err := client.DeletePodIdentityAssociation(ctx,
		&eks.DeletePodIdentityAssociationInput{ClusterName: cluster, AssociationId: id})
	must(t, deleted, err)
	_, err = client.DescribePodIdentityAssociation(ctx, describe)
	refused[*types.ResourceNotFoundException](t, err)
}

func TestAnAddonWithItsAssociation(t *testing.T) {
	client, cluster := start(t)
	ctx := t.Context()
	addon := aws.String("vpc-cni")
	describe := &eks.DescribeAddonInput{ClusterName: cluster, AddonName: addon}
	_, err := client.DescribeAddon(ctx, describe)
	refused[*types.ResourceNotFoundException](t, err)

	active := eks.NewClusterActiveWaiter(client)
	if err := active.Wait(ctx, &eks.DescribeClusterInput{Name: cluster}, patient); err != nil {
		t.Fatal(err)
	}
	created, err := client.CreateAddon(ctx, &eks.CreateAddonInput{
		ClusterName: cluster, AddonName: addon,
		PodIdentityAssociations: []types.AddonPodIdentityAssociations{
			{ServiceAccount: aws.String("aws-node"), RoleArn: aws.String(role)},
		},
	})
	must(t, created, err)
	if err := eks.NewAddonActiveWaiter(client).Wait(ctx, describe, patient); err != nil {
		t.Fatal(err)
	}
	if association := onlyAssociation(t, client, cluster); association.OwnerArn == nil || *association.RoleArn != role {
		t.Fatal(association)
	}
	updated, err := client.UpdateAddon(ctx, &eks.UpdateAddonInput{
		ClusterName: cluster, AddonName: addon,
		PodIdentityAssociations: []types.AddonPodIdentityAssociations{
			{ServiceAccount: aws.String("aws-node"), RoleArn: aws.String(other)},
		},
	})
	update, err := client.DescribeUpdate(ctx, &eks.DescribeUpdateInput{
		Name: cluster, AddonName: addon, UpdateId: must(t, updated, err).Update.Id,
	})
	if status := must(t, update, err).Update.Status; status != types.UpdateStatusSuccessful {
		t.Fatal(status)
	}
	if association := onlyAssociation(t, client, cluster); *association.RoleArn != other {
		t.Fatal(association)
	}

	deleted, err := client.DeleteAddon(ctx, &eks.DeleteAddonInput{ClusterName: cluster, AddonName: addon})
	must(t, deleted, err)
	if err := eks.NewAddonDeletedWaiter(client).Wait(ctx, describe, patient); err != nil {
		t.Fatal(err)
	}
	listed, err := client.ListPodIdentityAssociations(ctx, &eks.ListPodIdentityAssociationsInput{ClusterName: cluster})
	if left := must(t, listed, err).Associations; len(left) != 0 {
		t.Fatal(left)
	}
}

// onlyAssociation describes the one association of the cluster.
func onlyAssociation(t *testing.T, client *eks.Client, cluster *string) *types.PodIdentityAssociation {
	t.Helper()
	listed, err := client.ListPodIdentityAssociations(t.Context(), &eks.ListPodIdentityAssociationsInput{ClusterName: cluster})
	found := must(t, listed, err).Associations
	if len(found) != 1 {
		t.Fatal(found)
	}
	described, err := client.DescribePodIdentityAssociation(t.Context(),
		&eks.DescribePodIdentityAssociationInput{ClusterName: cluster, AssociationId: found[0].AssociationId})
	return must(t, described, err).Association
}
