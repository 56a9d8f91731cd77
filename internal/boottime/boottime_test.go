package boottime_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/boottime"
)

func TestNowIsTheUptime(t *testing.T) {
	t.Parallel()
	before := boottime.Now()
	b, err := os.ReadFile("/proc/uptime") // CLOCK_BOOTTIME in hundredths of a second, see proc_uptime(5)
	if err != nil {
		t.Fatal(err)
	}
	after := boottime.Now()
	text, _, _ := strings.Cut(string(b), " ")
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	const unit = 10 * time.Millisecond
	if up := time.Duration(seconds * float64(time.Second)); up < before-unit || up > after+unit {
		t.Errorf("uptime %v is not between %v and %v", up, before, after)
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	if id := boottime.ID(); len(id) != 36 || id != boottime.ID() {
		t.Errorf("%q is no identifier of this boot", id)
	}
}
