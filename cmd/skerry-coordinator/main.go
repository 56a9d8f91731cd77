// Command skerry-coordinator serves GitLab's runner API for one repository, for development and tests.
package main

import (
	"os"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/server"
)

func main() { os.Exit(server.Main(os.Args[1:], os.Stdout, os.Stderr)) }
