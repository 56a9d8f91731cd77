package files

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHelperLog(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	log := helperLog{&b}
	log.info("found")
	log.warn("none")
	want := "found" + strings.Repeat(" ", 45) + "\x1b[0;m \n" + "\x1b[0;33mWARNING: none" + strings.Repeat(" ", 37) + "\x1b[0;m \n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("log differs (-want +got):\n%s", diff)
	}
}
