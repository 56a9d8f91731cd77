package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// fetched is a path that a binary cache has.
const fetched = "/nix/store/33333333333333333333333333333333-fetched"

// TestNixSubstitution takes a path from a binary cache whose key is trusted, and none where another is.
func TestNixSubstitution(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	onEngines(t, func(t *testing.T, m machine) {
		cache, key := m.binaryCache(t)
		other, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			key, status, reason string
			says                []string
		}{
			"right": {key, gitlabtest.StatusSuccess, "", []string{"01O from the cache", "Nix: 1 substituted"}},
			"wrong": {"cache:" + base64.StdEncoding.EncodeToString(other), gitlabtest.StatusFailed, "script_failure", []string{"not signed by any of the keys"}},
		} {
			r := m.nixRunner(t, m.coordinator(t, gitlabtest.Options{}), fmt.Sprintf("substituters = [%q]", cache), fmt.Sprintf("trusted_public_keys = [%q]", c.key))
			r.start()
			// What the job says of keys and signatures makes no difference.
			j, log := r.wait(r.add(gitlabtest.JobSpec{Name: name, Script: []string{
				"nix-store --realise " + fetched + " --option require-sigs false --option trusted-public-keys " + key, "cat " + fetched,
			}}))
			want(t, j, log, c.status, c.reason)
			contains(t, log, c.says...)
		}
	})
}

// binaryCache serves fetched by HTTP, signed, and returns its address and public key.
func (m machine) binaryCache(t *testing.T) (address, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	for _, s := range []string{"nix-archive-1", "(", "type", "regular", "contents", "from the cache\n", ")"} {
		archive.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
		archive.WriteString(s)
		archive.Write(make([]byte, (8-len(s)%8)%8))
	}
	hash := "sha256:" + nixBase32(sha256.Sum256(archive.Bytes()))
	signature := ed25519.Sign(private, fmt.Appendf(nil, "1;%s;%s;%d;", fetched, hash, archive.Len()))
	mux := http.NewServeMux()
	for path, body := range map[string]string{
		"/nix-cache-info": "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 10\n",
		"/33333333333333333333333333333333.narinfo": fmt.Sprintf("StorePath: %s\nURL: nar/fetched.nar\nCompression: none\nNarHash: %s\nNarSize: %d\nReferences: \nSig: cache:%s\n",
			fetched, hash, archive.Len(), base64.StdEncoding.EncodeToString(signature)),
		"/nar/fetched.nar": archive.String(),
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", m.address()+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}} //nolint:gosec // of a test
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, "cache:" + base64.StdEncoding.EncodeToString(public)
}

// nixBase32 is a hash in Nix's own way of writing: from the last five bits to the first. Source: nix
// src/libutil/hash.cc, printHash32.
func nixBase32(sum [32]byte) string {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	const length = 52
	var text [length]byte
	for n := range length {
		bit := (length - 1 - n) * 5
		v := uint(sum[bit/8]) >> (bit % 8)
		if bit/8+1 < len(sum) {
			v |= uint(sum[bit/8+1]) << (8 - bit%8)
		}
		text[n] = digits[v&31]
	}
	return string(text[:])
}
