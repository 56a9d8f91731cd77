package mask

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

type count struct{ n int }

func (c *count) Masked(p []byte) { c.n += len(p) }

// twenty is what a job with many secrets has: tokens, passwords, a key of several lines.
func twenty() []string {
	all := make([]string, 0, 20)
	for i := range 18 {
		all = append(all, fmt.Sprintf("%c%cS3cr3t-%02d-%s", 'a'+i, 'A'+i, i, strings.Repeat("xY", i)))
	}
	return append(all, "correct horse battery", "-----BEGIN PRIVATE KEY-----\n"+strings.Repeat("MIIEvQIBADANBgkq\n", 90))
}

func BenchmarkFilter(b *testing.B) {
	long := bytes.Repeat([]byte("2026/08/22 building target internal/agent/server.go: 42 packages, 0 errors, glob **/*.go; as usual\n"), 700)
	short := bytes.Repeat([]byte("1234567\n"), 8<<10)
	near := bytes.Repeat([]byte("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgk \ncorrect horse batterie?rss_toke glpa aAS3cr3t-0x\n"), 600)
	for name, bc := range map[string]struct {
		in    []byte
		write int
	}{
		"long lines": {long, 64 << 10}, "short lines": {short, 64 << 10},
		"records of 8 bytes": {short, 8}, "near misses": {near, 64 << 10},
	} {
		b.Run(name, func(b *testing.B) {
			f := New(twenty(), DefaultPrefixes()).Filter(&count{})
			b.SetBytes(int64(len(bc.in)))
			for b.Loop() {
				for p := bc.in; len(p) > 0; {
					n := min(bc.write, len(p))
					f.Write(p[:n])
					p = p[n:]
				}
			}
		})
	}
}

// BenchmarkValues is what many masked variables cost; they look like tokens.
func BenchmarkValues(b *testing.B) {
	text := bytes.Repeat([]byte("2026/08/22 building target internal/agent/server.go: 42 packages, 0 errors, glob **/*.go; as usual\n"), 700)
	for _, n := range []int{20, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			secrets := make([]string, n)
			for i := range secrets {
				sum := sha256.Sum256([]byte(fmt.Sprint(i)))
				secrets[i] = base64.StdEncoding.EncodeToString(sum[:])
			}
			f := New(secrets, DefaultPrefixes()).Filter(&count{})
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				f.Write(text)
			}
		})
	}
}
