// Prints the access key that the default chain of the AWS SDK for Go finds.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"
)

func main() {
	ctx := context.Background()
	loaded, err := config.LoadDefaultConfig(ctx)
	if err == nil {
		credentials, failed := loaded.Credentials.Retrieve(ctx)
		if failed == nil {
			fmt.Println(credentials.AccessKeyID)
			return
		}
		err = failed
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
