// Fetches credentials from one default chain of the AWS SDK for Go, once for every line of standard input.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

func main() {
	ctx := context.Background()
	loaded, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		credentials, err := loaded.Credentials.Retrieve(ctx)
		if err == nil {
			fmt.Println(told(credentials))
			continue
		}
		fmt.Fprintln(os.Stderr, err)
		fmt.Println("failed", name(err))
	}
}

func told(credentials aws.Credentials) string {
	switch {
	case credentials.AccessKeyID == "":
		return "without AccessKeyId"
	case credentials.SecretAccessKey == "":
		return "without SecretAccessKey"
	case credentials.SessionToken == "":
		return "without Token"
	case !credentials.CanExpire:
		return fmt.Sprintf("key %s never", credentials.AccessKeyID)
	}
	return fmt.Sprintf("key %s %d", credentials.AccessKeyID, credentials.Expires.Unix())
}

// The type of the outermost error that has one of its own.
func name(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		kind := strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
		if !strings.HasPrefix(kind, "fmt.") && !strings.HasPrefix(kind, "errors.") {
			return kind
		}
	}
	return "error"
}
