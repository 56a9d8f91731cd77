package gateway_test

import (
	"slices"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// signed is info with so many signatures.
func signed(n int) []nixwire.Token {
	i := info(7)
	i[6].Int = uint64(n)
	return slices.Concat(i[:7], slices.Repeat([]nixwire.Token{tStr("key:signature")}, n), i[7:])
}

// TestSignatures signs a path over and over: what is told of it to everybody does not become long.
func TestSignatures(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	d := newDaemon(t, &daemon{answer: func(c call) reply {
		if c.op == nixwire.QueryPathInfo {
			return reply{answer: append([]nixwire.Token{{Kind: nixwire.Opt, Int: 1}}, signed(30)...)}
		}
		return reply{}
	}}, p)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	c := mustConnect(t, socket)
	for name, test := range map[string]struct {
		signatures []string
		refused    string
	}{
		"few":              {[]string{"a:1", "b:2"}, ""},
		"many":             {[]string{"a:1", "b:2", "c:3"}, "33 signatures"},
		"more than a line": {[]string{"a:1\nURL: nar/other"}, "without '\\n'"},
		"long":             {[]string{"a:" + strings.Repeat("1", 300)}, "not 302"},
	} {
		before := len(d.asked(nixwire.AddSignatures))
		request := []nixwire.Token{tPath(p), tList(uint64(len(test.signatures)))}
		for _, s := range test.signatures {
			request = append(request, tStr(s))
		}
		_, err := c.call(nixwire.AddSignatures, nil, request...)
		came := len(d.asked(nixwire.AddSignatures)) > before
		if test.refused == "" && (err != nil || !came) || test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused) || came) {
			t.Errorf("%s: %v; it came to the daemon: %t", name, err, came)
		}
	}
	long := append(append([]nixwire.Token{tPath(p)}, signed(100)...), tInt(0), tInt(0))
	long[8].Str = strings.Repeat("x", 1000)
	if _, err := c.call(nixwire.AddToStoreNar, archive("x"), long...); err != nil {
		t.Fatal(err)
	}
	r := d.asked(nixwire.AddToStoreNar)[0].request
	if n := r[7].Int; n != 32 || len(r) != len(long)-68 || r[8].Str != "key:signature" || r[len(r)-1].Kind != nixwire.Int {
		t.Errorf("%d signatures were passed on: %+v", n, r)
	}
}
