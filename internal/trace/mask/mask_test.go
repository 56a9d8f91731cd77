package mask

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type text struct{ strings.Builder }

func (t *text) Masked(p []byte) { t.Write(p) }

// apply masks the parts as one stream; after every write the state is moved to a new Filter when
// restore is set.
func apply(t testing.TB, s *Set, restore bool, parts ...string) string {
	t.Helper()
	var out text
	f := s.Filter(&out)
	for _, p := range parts {
		f.Write([]byte(p))
		if restore {
			before := out.Len()
			g := s.Filter(&out)
			if err := g.Restore(f.State()); err != nil {
				t.Fatal(err)
			}
			if out.Len() != before {
				t.Fatal("Restore let something through")
			}
			f = g
		}
	}
	f.End()
	return out.String()
}

// naive is what the package comment says, without any streaming.
func naive(secrets, prefixes []string, in string) string {
	cover := make([]bool, len(in))
	begin := make([]bool, len(in))
	var spans [][2]int
	for _, v := range Values(secrets) {
		for i := 0; i+len(v) <= len(in); i++ {
			if in[i:i+len(v)] == v {
				spans = append(spans, [2]int{i, i + len(v)})
				for k := i; k < i+len(v); k++ {
					cover[k] = true
				}
			}
		}
	}
	for _, s := range spans {
		inside := false // s begins inside or beside no other span that began earlier and covers its first byte
		for _, o := range spans {
			inside = inside || o[0] < s[0] && s[0] < o[1]
		}
		if !inside {
			begin[s[0]] = true
		}
	}
	const m = "\x00" // one symbol for a masked value; inputs do not contain it
	var b strings.Builder
	for i := range len(in) {
		switch {
		case begin[i]:
			b.WriteString(m)
		case !cover[i]:
			b.WriteByte(in[i])
		}
	}
	url := regexp.MustCompile(`(?i)([?&](?:` + strings.Join(URLKeys(), "|") + `)=)(?:\x00|[^?&\x01-\x20\x7f])*`)
	masked := url.ReplaceAllString(b.String(), "${1}"+m)
	return strings.ReplaceAll(naiveTokens(Prefixes(prefixes), masked), m, Mask)
}

func naiveTokens(prefixes []string, in string) string {
	from := 0 // of the text that may hold the next prefix
	for i := 1; i <= len(in); i++ {
		for _, p := range prefixes {
			if !strings.HasSuffix(in[from:i], p) {
				continue
			}
			end := i
			for end < len(in) && (TokenByte(in[end]) || in[end] == 0) {
				end++
			}
			if end > i {
				in = in[:i] + "\x00" + in[end:]
				i++
			}
			from = i
			break
		}
	}
	return in
}

func TestFilter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		secrets  []string
		prefixes []string
		in, want string // | splits writes
	}{
		{"nothing to mask", nil, nil, "plain text", "plain text"},
		{"empty secrets are ignored", []string{"", "  \n"}, nil, "plain text", "plain text"},
		{"whole", []string{"hunter22"}, nil, "hunter22", "[MASKED]"},
		{"white space around a value is not part of it", []string{" hunter22\n"}, nil, "x hunter22 y", "x [MASKED] y"},
		{"split", []string{"hunter22"}, nil, "a hun|ter|2|2 b", "a [MASKED] b"},
		{"begun but not ended", []string{"hunter22"}, nil, "a hunter|", "a hunter"},
		{"begun twice", []string{"hunter22"}, nil, "huhunter22", "hu[MASKED]"},
		{"side by side", []string{"hunter22"}, nil, "hunter22hunter22", "[MASKED][MASKED]"},
		{"longer wins", []string{"mask", "prefix_mask"}, nil, "prefix_|mask mask prefix_ma|sk", "[MASKED] [MASKED] [MASKED]"},
		{"overlap is one", []string{"this is the end", "end of it"}, nil, "this is the end of it", "[MASKED]"},
		{"overlap that is none", []string{"this is the end", "en foobar"}, nil, "this is the en| foobar", "this is the [MASKED]"},
		{"contained in a failed longer one", []string{"abcdef", "bcd"}, nil, "abcd|ex", "a[MASKED]ex"},
		{"one byte", []string{"x"}, nil, "axb|x", "a[MASKED]b[MASKED]"},
		{"two lines", []string{"one\ntwo"}, nil, "> one\n|two <", "> [MASKED] <"},
		{"two lines as a terminal shows them", []string{"one\ntwo"}, nil, "> one\r|\ntwo <", "> [MASKED] <"},
		{"default token", nil, nil, "x glpat-abc.D_1=- y", "x glpat-[MASKED] y"},
		{"token split", nil, nil, "x gl|pat|-a|bc y glpat-|", "x glpat-[MASKED] y glpat-"},
		{"prefix alone", nil, nil, "glpat- x", "glpat- x"},
		{"token in a token", nil, nil, "glpat-impglpat-erdiet x", "glpat-[MASKED] x"},
		{"own prefix", nil, []string{"tok-"}, "stok-|d gltok-test t|tok-x", "stok-[MASKED] gltok-[MASKED] ttok-[MASKED]"},
		{"value in a token", []string{"secret99"}, nil, "glpat-abcsecret99def x", "glpat-[MASKED] x"},
		{"value is the token", []string{"secret99"}, nil, "glpat-secret99 x", "glpat-[MASKED] x"},
		{"parameter", nil, nil, "http://h/?a=b&Private_Token=xyz&c=d", "http://h/?a=b&Private_Token=[MASKED]&c=d"},
		{"parameter split", nil, nil, "?x-amz-|security-token|=a|bc d", "?x-amz-security-token=[MASKED] d"},
		{"parameter at the end", nil, nil, "?rss_token=|", "?rss_token=[MASKED]"},
		{"parameter restarted", nil, nil, "?x-amz-security?x-amz-security-token=hello ?=&", "?x-amz-security?x-amz-security-token=[MASKED] ?=&"},
		{"parameter with a masked value", []string{"secret99"}, nil, "?rss_token=asecret99b c", "?rss_token=[MASKED] c"},
		{"no parameter", nil, nil, "rss_token=a ?my_rss_token=b", "rss_token=a ?my_rss_token=b"},
		{"token in a parameter", nil, nil, "?rss_token=glpat-abc glpat-d", "?rss_token=[MASKED] glpat-[MASKED]"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := New(tc.secrets, tc.prefixes)
			for _, restore := range []bool{false, true} {
				if d := cmp.Diff(tc.want, apply(t, s, restore, strings.Split(tc.in, "|")...)); d != "" {
					t.Errorf("restore=%t: %s", restore, d)
				}
			}
			if d := cmp.Diff(tc.want, naive(tc.secrets, tc.prefixes, strings.ReplaceAll(tc.in, "|", ""))); d != "" {
				t.Error("the naive oracle differs: ", d)
			}
		})
	}
}

// words are made of few letters so that secrets overlap, nest and repeat often.
func words(r *rand.Rand, most, length int) []string {
	all := make([]string, r.IntN(most+1))
	for i := range all {
		var b strings.Builder
		for range 1 + r.IntN(length) {
			b.WriteByte("aab\nc-g"[r.IntN(7)])
		}
		all[i] = b.String()
	}
	return all
}

func sample(r *rand.Rand, secrets, prefixes []string) string {
	pieces := append([]string{"glpat-", "?rss_token=", "&x-amz-", "credential=", "?", "&", " ", "\n", "\r\n", "a", "b", "aa", "g", "gl"}, secrets...)
	pieces = append(pieces, prefixes...)
	var b strings.Builder
	for range r.IntN(30) {
		p := pieces[r.IntN(len(pieces))]
		if r.IntN(4) == 0 {
			p = p[:r.IntN(len(p)+1)]
		}
		b.WriteString(p)
	}
	return b.String()
}

func split(r *rand.Rand, in string) []string {
	var parts []string
	for in != "" {
		n := 1 + r.IntN(min(len(in), 12))
		parts = append(parts, in[:n])
		in = in[n:]
	}
	return parts
}

func TestFilterEqualsNaiveForAnySplit(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 1))
		secrets, prefixes := words(r, 6, 8), words(r, 2, 5)
		s, in := New(secrets, prefixes), sample(r, secrets, prefixes)
		want := naive(secrets, prefixes, in)
		if got := apply(t, s, seed%2 == 0, split(r, in)...); got != want {
			t.Fatalf("seed %d: secrets %q, prefixes %q, in %q:\n got %q\nwant %q", seed, secrets, prefixes, in, got, want)
		}
	}
}

func TestGapLetsNoSecretThrough(t *testing.T) {
	t.Parallel()
	var out text
	f := New([]string{"hunter22"}, nil).Filter(&out)
	f.Write([]byte("x hunter22 hunt"))
	f.Gap()
	f.Write([]byte("er22 ?rss_token=ab"))
	f.Gap()
	f.Write([]byte("cd e glpat-1"))
	f.Gap()
	f.Write([]byte("23 f"))
	f.End()
	if d := cmp.Diff("x [MASKED] hunter22 ?rss_token=[MASKED] e glpat-[MASKED] f", out.String()); d != "" {
		t.Fatal(d)
	}
}

func TestRestoreRefusesImpossibleStates(t *testing.T) {
	t.Parallel()
	for _, s := range []State{
		{Held: 8}, {Held: -1}, {Pattern: 1, Held: 1}, {Pattern: -1, Held: 1}, {Token: 3}, {Swallow: -1},
		{Key: "?nothing"}, {Key: "x"}, {Key: "?rss_token="}, {Begun: 6}, {Prefix: 7, Begun: 1},
	} {
		if err := New([]string{"hunter22"}, nil).Filter(&text{}).Restore(s); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("secret", "other", "tok-", "a secret, ?rss_token=x glpat-y tok-z", uint64(1))
	f.Add("aa", "aab", "g", "aaaabaab", uint64(7))
	f.Add("\r\n", "a\nb", "-", "a\r\nb", uint64(3))
	f.Fuzz(func(t *testing.T, s1, s2, prefix, in string, seed uint64) {
		if len(in) > 2000 || strings.Contains(in, "\x00") || strings.Contains(s1+s2+prefix, "\x00") {
			return
		}
		secrets, prefixes := []string{s1, s2}, []string{prefix}
		got := apply(t, New(secrets, prefixes), seed%2 == 0, split(rand.New(rand.NewPCG(seed, 2)), in)...)
		if whole := apply(t, New(secrets, prefixes), false, in); got != whole {
			t.Fatalf("split: %q, whole: %q", got, whole)
		}
		if want := naive(secrets, prefixes, in); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// A job may have thousands of masked variables: they are all found, whichever bytes they share.
func TestThousandsOfValues(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	letters := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
	secrets := make([]string, 5000)
	for i := range secrets {
		b := make([]byte, 8+r.IntN(40))
		for k := range b {
			b[k] = letters[r.IntN(len(letters))]
		}
		secrets[i] = string(b)
	}
	s := New(secrets, nil)
	for i, v := range secrets {
		before, after := secrets[(i+1)%len(secrets)][:7], secrets[(i+2)%len(secrets)][1:]
		want := "|" + before + "|" + Mask + "|" + after + "|"
		if got := apply(t, s, i%50 == 0, "|"+before+"|"+v[:3], v[3:]+"|"+after+"|"); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}
