package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/lenient"
)

// TokenPrefix begins the tokens of runners that were created on the server. Such a runner is
// verified, never registered, and its Unregister removes this manager only.
const TokenPrefix = "glrt-"

// Register makes a new runner with a registration token. Answers other than 201 are errors:
// ErrForbidden for a wrong token, else with the server's validation messages.
func (c *Client) Register(ctx context.Context, r RegisterRequest) (Registered, error) {
	r.Info = c.info(r.Info)
	k := call{op: "register the runner", endpoint: EndpointRegister, method: http.MethodPost, path: "runners", token: r.Token}
	out, err := c.registration(ctx, k, r, http.StatusCreated)
	if err == nil && out.Token == "" {
		err = errors.New("register the runner: the server's answer holds no token")
	}
	return out, err
}

// Verify asks whether token is valid, and tells the server about this manager if systemID is not
// empty. ErrForbidden means that it is not. Token of the result is never empty. It retries.
func (c *Client) Verify(ctx context.Context, token, systemID string) (Registered, error) {
	k := call{op: "verify the runner", endpoint: EndpointVerify, method: http.MethodPost, path: "runners/verify", token: token}
	// Without info the server would take this manager to lack cancel_gracefully until the first poll.
	body := VerifyRequest{Token: token, SystemID: systemID, Info: c.info(Info{})}
	var out Registered
	err := c.opts.Retry.Do(ctx, func(ctx context.Context) error {
		var err error
		out, err = c.registration(ctx, k, body, http.StatusOK)
		return err
	})
	if err == nil && out.Token == "" {
		out.Token = token
	}
	return out, err
}

// Unregister deletes the runner of token on the server, with all its managers unless the token
// begins with TokenPrefix.
func (c *Client) Unregister(ctx context.Context, token string) error {
	k := call{op: "unregister the runner", endpoint: EndpointUnregister, method: http.MethodDelete, path: "runners", token: token}
	return c.expect(ctx, k, TokenRequest{Token: token}, http.StatusNoContent)
}

// UnregisterManager deletes the manager systemID of the runner of token on the server.
func (c *Client) UnregisterManager(ctx context.Context, token, systemID string) error {
	k := call{op: "unregister the runner manager", endpoint: EndpointUnregister, method: http.MethodDelete, path: "runners/managers", token: token}
	return c.expect(ctx, k, ManagerRequest{Token: token, SystemID: systemID}, http.StatusNoContent)
}

// ResetToken replaces token by the one that it returns; token is dead from then on, and perhaps
// also when the error is that no answer came.
func (c *Client) ResetToken(ctx context.Context, token string) (Registered, error) {
	k := call{op: "reset the runner's token", endpoint: EndpointResetToken, method: http.MethodPost, path: "runners/reset_authentication_token", token: token}
	out, err := c.registration(ctx, k, TokenRequest{Token: token}, http.StatusCreated)
	if err == nil && out.Token == "" {
		err = errors.New("reset the runner's token: the server's answer holds no token")
	}
	return out, err
}

// ResetTokenAs is ResetToken for the runner with this id, asked by a user whose personal access token
// userToken is: the runner's own token may be lost or expired.
func (c *Client) ResetTokenAs(ctx context.Context, id int64, userToken string) (Registered, error) {
	k := call{
		op: "reset the runner's token", endpoint: EndpointResetToken, method: http.MethodPost,
		path: "runners/" + strconv.FormatInt(id, 10) + "/reset_authentication_token", token: userToken,
		header: http.Header{HeaderPrivateToken: {userToken}},
	}
	out, err := c.answered(ctx, k, http.StatusCreated)
	if err == nil && out.Token == "" {
		err = errors.New("reset the runner's token: the server's answer holds no token")
	}
	return out, err
}

func (c *Client) expect(ctx context.Context, k call, body any, status int) error {
	k, err := jsonCall(k, HeaderRunnerToken, body)
	if err != nil {
		return err
	}
	a, err := c.exchange(ctx, k)
	if err != nil {
		return err
	}
	if a.status != status {
		return c.failure(k, a)
	}
	return nil
}

func (c *Client) registration(ctx context.Context, k call, body any, status int) (Registered, error) {
	k, err := jsonCall(k, HeaderRunnerToken, body)
	if err != nil {
		return Registered{}, err
	}
	return c.answered(ctx, k, status)
}

// answered makes a call whose answer is about a runner.
func (c *Client) answered(ctx context.Context, k call, status int) (Registered, error) {
	a, err := c.exchange(ctx, k)
	if err != nil {
		return Registered{}, err
	}
	if a.status != status {
		return Registered{}, c.failure(k, a)
	}
	out, err := registered(a.body)
	if err != nil {
		return Registered{}, fmt.Errorf("%s: %w", k.op, err)
	}
	return out, nil
}

// registered reads the answer about a runner. GitLab before 13 says only "200" to a verification.
func registered(body []byte) (Registered, error) {
	if text := strings.TrimSpace(string(body)); text == "" || text == "200" || text == `"200"` {
		return Registered{}, nil
	}
	var d lenient.Decoder
	var raw struct {
		ID      int64  `json:"id"`
		Token   string `json:"token"`
		Expires string `json:"token_expires_at"`
	}
	if err := d.DecodeObject(body, &raw); err != nil {
		return Registered{}, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	out := Registered{ID: raw.ID, Token: raw.Token}
	if raw.Expires != "" {
		at, err := time.Parse(time.RFC3339, raw.Expires)
		if err != nil {
			return Registered{}, errors.New("the server's answer holds a token_expires_at that is no date")
		}
		out.TokenExpiresAt = &at
	}
	return out, nil
}

// info returns i, or the client's own when i is zero.
func (c *Client) info(i Info) Info {
	if reflect.ValueOf(i).IsZero() {
		return c.opts.Info
	}
	return i
}
