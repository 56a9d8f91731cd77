package nixpush

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Path is a valid path of a store, as its database describes it.
type Path struct {
	Path       string   `json:"path"`
	Hash       string   `json:"hash"`       // SHA-256 of its archive in hexadecimal
	Size       int64    `json:"size"`       // of its archive in bytes
	References []string `json:"references"` // paths, itself perhaps among them
	Deriver    string   `json:"deriver,omitempty"`
	Signatures []string `json:"signatures,omitempty"`
	CA         string   `json:"ca,omitempty"`    // how its name follows from its content, if it does
	Built      bool     `json:"built,omitempty"` // by this store's daemon
}

// hashPart is what a path is found by.
func (p Path) hashPart() string {
	hash, _, _ := strings.Cut(path.Base(p.Path), "-")
	return hash
}

// archive is what a cache holds of a path's content.
type archive struct {
	name        string // in the cache
	compression string
	hash        []byte // SHA-256
	size        int64
}

// narinfo describes a path in a cache. Source: Nix, src/libstore/nar-info.cc and path-info.cc.
func (p Path) narinfo(a archive, k Key) ([]byte, error) {
	raw, err := hex.DecodeString(p.Hash)
	if err != nil || len(raw) != 32 {
		return nil, fmt.Errorf("%s has the hash %q, which is no SHA-256", p.Path, p.Hash)
	}
	refs := slices.Clone(p.References)
	slices.Sort(refs)
	refs = slices.Compact(refs)
	hash := "sha256:" + base32(raw)
	// Jobs may give paths any signature, and a line of its own would change what is said here.
	signatures := append(slices.DeleteFunc(slices.Clone(p.Signatures), isNoSignature), k.sign(fmt.Sprintf("1;%s;%s;%d;%s", p.Path, hash, p.Size, strings.Join(refs, ","))))
	slices.Sort(signatures)
	for i, r := range refs {
		refs[i] = path.Base(r)
	}
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%s: %s\n", key, value) }
	line("StorePath", p.Path)
	line("URL", a.name)
	line("Compression", a.compression)
	line("FileHash", "sha256:"+base32(a.hash))
	line("FileSize", fmt.Sprint(a.size))
	line("NarHash", hash)
	line("NarSize", fmt.Sprint(p.Size))
	line("References", strings.Join(refs, " "))
	if p.Deriver != "" {
		line("Deriver", path.Base(p.Deriver))
	}
	for _, s := range slices.Compact(signatures) {
		line("Sig", s)
	}
	if p.CA != "" {
		line("CA", p.CA)
	}
	return []byte(b.String()), nil
}

// isNoSignature reports whether text is not a signature as it stands in a narinfo, NAME:BASE64.
func isNoSignature(text string) bool {
	name, sum, ok := strings.Cut(text, ":")
	raw, err := base64.StdEncoding.Strict().DecodeString(sum)
	return !ok || name == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || err != nil || len(raw) != ed25519.SignatureSize
}

const digits = "0123456789abcdfghijklmnpqrsvwxyz"

// base32 is Nix's way of writing hashes: five bits a digit, the last ones first. Source: Nix, src/libutil/hash.cc.
func base32(raw []byte) string {
	n := (len(raw)*8-1)/5 + 1
	out := make([]byte, n)
	for i := range n {
		bit := (n - 1 - i) * 5
		at, shift := bit/8, bit%8
		v := raw[at] >> shift
		if shift > 3 && at+1 < len(raw) {
			v |= raw[at+1] << (8 - shift)
		}
		out[i] = digits[v&31]
	}
	return string(out)
}
