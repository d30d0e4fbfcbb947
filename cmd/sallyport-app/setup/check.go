package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/gate/github"
)

// Checker asks GitHub whether it reaches the server: nobody else is asked, and only
// GitHub knows.
type Checker struct {
	GitHub *github.Client
	Places Places
	// URL is where the server says that it is.
	URL string
	Out io.Writer
	// Every is the pause between two looks, Wait how long in all. Zero is a second,
	// and forty.
	Every, Wait time.Duration
}

// errUnreached is the end of a check that found something.
var errUnreached = errors.New("something is left to do; see above")

// Check prints what GitHub says. It has GitHub send its last event again, which the
// server knows already and drops. The error says that something is left to do.
func (c Checker) Check(ctx context.Context) error {
	if c.Every == 0 {
		c.Every, c.Wait = time.Second, 40*time.Second
	}
	say := func(format string, args ...any) { fmt.Fprintf(c.Out, format+"\n", args...) }
	self, err := c.GitHub.Self(ctx)
	if err != nil {
		return fmt.Errorf("asking GitHub who the App is: %w", err)
	}
	say("App       %s (%d) of %s", self.Slug, self.ID, self.Owner.Login)
	left := false
	for _, d := range Differences(self.Permissions, self.Events, self.Permissions["actions"] == "write") {
		say("          %s", d)
		left = true
	}
	all, err := c.GitHub.Installations(ctx)
	if err != nil {
		return fmt.Errorf("asking GitHub where the App is installed: %w", err)
	}
	if len(all) == 0 {
		say("Installed nowhere yet: %s", c.Places.installPage(string(self.Slug)))
		left = true
	}
	for _, in := range all {
		say("Installed on %s (%s repositories)", in.Account.Login, in.Selection)
		switch {
		case in.Suspended:
			say("          suspended: an owner of %s has to unsuspend it", in.Account.Login)
			left = true
		default:
			for _, d := range Differences(in.Permissions, github.Events(), in.Permissions["actions"] == "write") {
				say("          %s; if the App asks for it, an owner of %s has to accept it", d, in.Account.Login)
				left = true
			}
		}
	}
	if ok, err := c.reached(ctx, say); err != nil {
		return err
	} else if !ok || left {
		return errUnreached
	}
	return nil
}

// newest is the newest attempt to deliver; of one event, if guid names one.
func (c Checker) newest(ctx context.Context, guid string) (d github.Delivery, found bool, err error) {
	err = c.GitHub.Deliveries(ctx, func(x github.Delivery) bool {
		if guid == "" || x.GUID == guid {
			d, found = x, true
		}
		return found
	})
	if err != nil {
		err = fmt.Errorf("asking GitHub what it delivered: %w", err)
	}
	return d, found, err
}

// reached has the last event sent again, and tells what became of it.
func (c Checker) reached(ctx context.Context, say func(string, ...any)) (bool, error) {
	last, found, err := c.newest(ctx, "")
	if err != nil {
		return false, err
	}
	if !found {
		say("Events    GitHub sent none in the last days: install the App, or press Redeliver on its page under Advanced")
		return false, nil
	}
	if err := c.GitHub.Redeliver(ctx, last.ID); err != nil {
		return false, fmt.Errorf("asking GitHub to send an event again: %w", err)
	}
	again := last
	for end := time.Now().Add(c.Wait); again.ID == last.ID; {
		if time.Now().After(end) {
			say("Events    GitHub was asked to send %s again and did not do so in %s; of the time before: %s", name(last), c.Wait, outcome(last))
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(c.Every):
		}
		if again, _, err = c.newest(ctx, last.GUID); err != nil {
			return false, err
		}
	}
	if again.OK() {
		say("Events    reach %s: %s was answered with %d", c.URL, name(again), again.StatusCode)
		return true, nil
	}
	say("Events    do not reach %s: %s, %s", c.URL, name(again), outcome(again))
	say("          %s", c.advice(again.StatusCode))
	return false, nil
}

func name(d github.Delivery) string {
	if d.Action != "" {
		return strconv.Quote(d.Event + "." + d.Action)
	}
	return strconv.Quote(d.Event)
}

// outcome is GitHub's own word on an attempt, which others could have a part in.
func outcome(d github.Delivery) string {
	return fmt.Sprintf("status %d, %q", d.StatusCode, d.Status)
}

// advice says what to look at for a status.
func (c Checker) advice(status int) string {
	switch {
	case status == 0:
		return "No answer came. From GitHub's side the name in " + c.URL + " has to resolve, its port 443 to be open, and its certificate to be one that everybody trusts."
	case status == http.StatusUnauthorized:
		return "The server has another webhook secret than the App: compare SALLYPORT_WEBHOOK_SECRET_FILE with the App's page."
	case status >= 300 && status < 400:
		return "Something sends GitHub elsewhere, and GitHub follows nobody: let it lead to the server directly."
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return "Something answers there that is not this server: let the proxy lead /webhooks/github to it."
	case status == http.StatusUnsupportedMediaType:
		return "The App's webhook has to send application/json: change its content type on the App's page."
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return "The proxy answers and the server does not, or its database is away: look at its log."
	default:
		return "Look at the server's log at that moment."
	}
}
