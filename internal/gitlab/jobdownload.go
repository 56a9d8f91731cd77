package gitlab

import (
	"context"
	"io"

	"gitlab.com/skerry/skerry/internal/job"
)

// DownloadArtifact is Client.DownloadArtifact, so that a JobClient has all that a job asks of the
// coordinator.
func (j *JobClient) DownloadArtifact(ctx context.Context, d job.Dependency, direct bool) (io.ReadCloser, int64, error) {
	return j.client.DownloadArtifact(ctx, d, direct)
}
