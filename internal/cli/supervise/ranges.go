package supervise

import (
	"log/slog"
	"os"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/image"
)

// ranges gives the engine's user the ids that there are, and none of root's and the runner's: how many there are the
// machine outside decides. root is /, etc. Images with other users have ranges of their own.
func (o options) ranges(log *slog.Logger, root string) error {
	if o.engineUser != image.NestedUser || o.runnerUser != image.RunnerUser {
		return nil
	}
	for idMap, file := range map[string]string{"proc/self/uid_map": "etc/subuid", "proc/self/gid_map": "etc/subgid"} {
		text, err := os.ReadFile(filepath.Join(root, idMap))
		if err != nil {
			return err
		}
		lines, missing, err := image.RunnerRanges(string(text))
		if err != nil {
			return err
		}
		if missing > 0 {
			log.Warn("Containers of jobs do not have all 65,536 ids: give the user outside 65539 of them (usermod --add-subuids, --add-subgids), then run `podman system migrate` as that user",
				"missing", missing, "file", "/"+file)
		}
		path := filepath.Join(root, file)
		if has, err := os.ReadFile(path); err == nil && string(has) == lines {
			continue
		}
		if err := os.WriteFile(path, []byte(lines), 0o644); err != nil { //nolint:gosec // everybody reads it
			return err
		}
	}
	return nil
}
