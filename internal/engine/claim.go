package engine

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"gitlab.com/skerry/skerry/internal/stage"
)

// What agents say may be a lie of the job's author, who can replace them: it is bounded here before it
// gets into logs, the journal or a request.
const (
	maxWords   = 4 << 10 // of a message, bytes
	maxHost    = 256     // of a host name, bytes
	maxArchive = 1 << 50 // of an archive, bytes: a size beyond it is no size
)

// words makes one bounded line of text.
func words(text string, limit int) string {
	if len(text) > limit {
		for limit > 0 && !utf8.RuneStart(text[limit]) {
			limit--
		}
		text = text[:limit] + "…"
	}
	return oneLine(strings.ToValidUTF8(text, "\ufffd"))
}

// claimed is what an agent says of a stage's end, within bounds.
func claimed(res stage.Result) stage.Result {
	res.Message = words(res.Message, maxWords)
	res.Usage = claimedUsage(res.Usage)
	switch res.Reason {
	case stage.Success, stage.Failed, stage.Timeout, stage.Canceled, stage.System, stage.Lost:
	default:
		res.Message = words(fmt.Sprintf("the job's agent says %q: %s", words(string(res.Reason), maxHost), res.Message), maxWords)
		res.Reason = stage.System
	}
	if res.Reason == stage.Failed && (res.ExitCode <= 0 || res.ExitCode > math.MaxInt32) {
		res.ExitCode = 1 // what failed did not end with 0
	}
	return res
}

// checkArchive says what is wrong with what an agent says of an archive that it made.
func checkArchive(a stage.Archive) error {
	switch sum, err := hex.DecodeString(a.SHA256); {
	case a.Size < 0 || a.Size > maxArchive:
		return fmt.Errorf("the job's agent says that the archive has a size of %d bytes", a.Size)
	case err != nil || len(sum) != 32:
		return fmt.Errorf("the job's agent does not tell the archive's SHA-256 checksum but %q", words(a.SHA256, maxHost))
	default:
		return nil
	}
}
