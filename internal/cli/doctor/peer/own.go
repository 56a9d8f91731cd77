package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// own asks the podman command, which has no service yet, of itself.
func (e *Engine) own(ctx context.Context, f *Facts) error {
	cmd := exec.CommandContext(ctx, e.Own, "info", "--format", "json")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	f.Kind, f.Local = engineapi.Podman, true
	if err != nil {
		return &ownError{fmt.Errorf("`podman info` fails (%w): %s", err, strings.TrimSpace(said.String()))}
	}
	var info struct {
		Version struct{ Version string }
		Host    struct{ Security struct{ Rootless bool } }
		Store   struct{ GraphDriverName, GraphRoot string }
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return &ownError{fmt.Errorf("`podman info` says what cannot be understood: %w", err)}
	}
	if info.Version.Version == "" {
		return &ownError{errors.New("`podman info` names no version")}
	}
	f.Version, f.Rootless, f.Driver, f.Dir = info.Version.Version, info.Host.Security.Rootless, info.Store.GraphDriverName, info.Store.GraphRoot
	return nil
}

// ownError is that the podman command does not work.
type ownError struct{ error }

func (e *ownError) Unwrap() error { return e.error }
