package peer_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
)

// TestNested has engines without the image of engines of jobs; TestNestedImage of doctor has one that is mended.
func TestNested(t *testing.T) {
	t.Parallel()
	e := at(t, here(), "unix://"+serve(t, "podman", "4.3.1"))
	check := peer.Nested(e, "skerry", "localhost/skerry-podman", "localhost/skerry-podman")
	want(t, check, finding.Skipped, "could not be asked", "")
	e.Check().Look(t.Context())
	want(t, check, finding.Failure, "the engine has no image localhost/skerry-podman", "skerry image build podman --host "+e.Facts().Found.Host+" --from quay.io/podman/stable")
	want(t, peer.Nested(e, "skerry", "r.invalid/podman:5", "localhost/skerry-podman"), finding.Skipped, "pulls it", "")
}
