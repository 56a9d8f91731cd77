// Command skerry is a GitLab CI runner. A link to it named gitlab-runner works as well.
package main

import (
	"os"

	"gitlab.com/skerry/skerry/internal/cli"
)

// Set by the linker.
var version, revision = "dev", "unknown" //nolint:gochecknoglobals // the linker can set nothing else

func main() {
	os.Exit(cli.Main(cli.Build{Version: version, Revision: revision}))
}
