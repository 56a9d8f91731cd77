package trace

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/spool"
)

// endless serves one block of records n times, then End.
type endless struct {
	block []byte
	n     int
	pos   int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n := copy(p, e.block[e.pos:])
	if e.pos += n; e.pos == len(e.block) {
		e.pos, e.n = 0, e.n-1
		if e.n == 1 {
			e.block = spool.Append(nil, 1, spool.End, nil)
		}
	}
	return n, nil
}

type benchSpools struct{ endless }

func (b *benchSpools) OpenSpool(context.Context, string, string, int64) (io.ReadCloser, error) {
	return io.NopCloser(&b.endless), nil
}
func (b *benchSpools) AckSpool(context.Context, string, string, int64) error { return nil }

// BenchmarkRender renders a log with 20 secrets and timestamps, decoding, masking, checkpoints and
// the file included; MB/s counts the work's own output.
func BenchmarkRender(b *testing.B) {
	secrets := make([]string, 20)
	for i := range secrets {
		secrets[i] = fmt.Sprintf("%c%cS3cr3t-%02d-%s", 'a'+i, 'A'+i, i, strings.Repeat("xY", i))
	}
	long := strings.Repeat("2026/08/22 building target internal/agent/server.go: 42 packages, 0 errors, glob **/*.go; as usual\n", 640)
	short := strings.Repeat("1234567\n", 8<<10)
	for name, bc := range map[string]struct {
		text   string
		record int
		total  int
	}{
		"100-byte lines, 64 KiB records": {long, 64 << 10, 256 << 20},
		"8-byte lines, 64 KiB records":   {short, 64 << 10, 24 << 20},
		"8-byte lines, a record each":    {short, 8, 24 << 20},
	} {
		b.Run(name, func(b *testing.B) {
			var block []byte
			for p, t := []byte(bc.text), int64(1755823443123456); len(p) > 0; t += 17 {
				n := min(bc.record, len(p))
				block = spool.Append(block, t, spool.Stdout, p[:n])
				p = p[n:]
			}
			n := bc.total / len(bc.text)
			b.SetBytes(int64(n * len(bc.text)))
			for b.Loop() {
				tr, err := Open(Options{Dir: b.TempDir(), Secrets: secrets, Timestamps: true, Limit: 4 << 30})
				if err != nil {
					b.Fatal(err)
				}
				for _, e := range []Entry{{Op: Include, Stage: "s"}, {Op: Close}} {
					if _, err := tr.Append(e); err != nil {
						b.Fatal(err)
					}
				}
				if err := tr.Render(b.Context(), &benchSpools{endless{block: block, n: n + 1}}); err != nil {
					b.Fatal(err)
				}
				tr.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n*bytes.Count([]byte(bc.text), []byte("\n"))), "ns/line")
		})
	}
}
