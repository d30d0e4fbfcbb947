package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// version is set at link time (-ldflags "-X main.version=v1.2.3"); empty means
// what the build information says.
var version string

// versionName is the version alone, as a program says it of itself.
func versionName() string {
	if version != "" {
		return version
	}
	return "unreleased"
}

// versionLine is the answer to --version.
func versionLine() string {
	v, commit := version, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				commit = " (" + s.Value[:12] + ")"
			}
		}
	}
	if v == "" || v == "(devel)" {
		v = "(unreleased)"
	}
	return fmt.Sprintf("sallyport %s%s %s/%s", v, commit, runtime.GOOS, runtime.GOARCH)
}

const (
	groupCore  = "core"
	groupOther = "other"
)

// root makes the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport <command> [flags]",
		Short: "Who wrote a change, what it touches, what it needs, and why",
		Long: `Judge changes by your policy: who wrote them, which environments they touch,
what they need from whom, and why.`,
		Example: `$ sallyport init
$ sallyport check
$ sallyport policy explain src/server.go docs/guide.md`,
		Version:       versionLine(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          a.subcommand,
		RunE:          help,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpFunc(a.help)
	root.SetUsageFunc(func(c *cobra.Command) error { a.help(c, nil); return nil })
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &codeError{code: ExitUsage, err: err, usage: true} })
	root.AddGroup(&cobra.Group{ID: groupCore, Title: "CORE COMMANDS"}, &cobra.Group{ID: groupOther, Title: "ADDITIONAL COMMANDS"})
	root.SetHelpCommandGroupID(groupOther)
	root.CompletionOptions.DisableDefaultCmd = true

	core := []*cobra.Command{a.initCommand(), a.checkCommand(), a.classifyCommand(), a.policyCommand(), a.auditCommand(), a.execCommand(), a.loginCommand(), a.logoutCommand(), a.actionCommand()}
	for _, c := range core {
		c.GroupID = groupCore
	}
	completion := a.completionCommand()
	completion.GroupID = groupOther
	root.AddCommand(append(core, completion)...)
	root.PersistentFlags().BoolP("help", "h", false, "Show help for a command")
	root.Flags().Bool("version", false, "Show the version")
	return root
}

// help shows a command's help where it was called without a command.
func help(c *cobra.Command, _ []string) error { return c.Help() }

// subcommand is cobra.PositionalArgs for a command that only has others.
func (a *app) subcommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("; did you mean %q?", near[0])
	}
	return usage("unknown command %q%s", args[0], hint)
}

// atMost is cobra.PositionalArgs for up to n arguments.
func atMost(n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		if n == 0 {
			return usage("unexpected argument %q: this command takes only flags", args[0])
		}
		return usage("unexpected argument %q: this command takes at most %d", args[n], n)
	}
}

// format is the value of a --format flag.
type format string

const (
	formatText format = "text"
	formatJSON format = "json"
)

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch v := format(s); v {
	case formatText, formatJSON:
		*f = v
		return nil
	}
	return fmt.Errorf("want text or json")
}

// Type implements pflag.Value.
func (f *format) Type() string { return "text|json" }

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

func addFormat(c *cobra.Command) *format {
	f := formatText
	c.Flags().Var(&f, "format", "Output `format`: text or json")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// help writes a command's help in the manner of gh.
func (a *app) help(c *cobra.Command, _ []string) {
	var b strings.Builder
	section := func(title, body string) {
		if body = strings.TrimRight(body, "\n"); body != "" {
			fmt.Fprintf(&b, "\n%s\n%s\n", a.out.strong(title), indent(body, "  "))
		}
	}
	text := c.Long
	if text == "" {
		text = c.Short
	}
	b.WriteString(strings.TrimSpace(text) + "\n")
	section("USAGE", c.UseLine())
	if len(c.Groups()) > 0 {
		for _, g := range c.Groups() {
			section(g.Title, commandList(c, g.ID))
		}
	}
	section("COMMANDS", commandList(c, ""))
	section("FLAGS", dedent(c.LocalNonPersistentFlags().FlagUsagesWrapped(100)))
	if c.HasParent() {
		section("INHERITED FLAGS", "--help   Show help for a command")
	} else {
		section("INHERITED FLAGS", "")
	}
	section("EXAMPLES", strings.TrimSpace(c.Example))
	section("EXIT CODES", c.Annotations["exit"])
	if c.HasAvailableSubCommands() {
		section("LEARN MORE", fmt.Sprintf("Use `%s <command> --help` for more about a command.\nWhat each reason code means: docs/reasons.md", c.CommandPath()))
	}
	fmt.Fprint(a.stdout, b.String())
}

// dedent takes away the spaces that all lines begin with.
func dedent(s string) string {
	least := -1
	for line := range strings.Lines(s) {
		if n := len(line) - len(strings.TrimLeft(line, " ")); strings.TrimSpace(line) != "" && (least < 0 || n < least) {
			least = n
		}
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(line[min(max(least, 0), len(line)-1):])
	}
	return b.String()
}

// commandList lists the commands of a group, those without one for "".
func commandList(c *cobra.Command, group string) string {
	var rows [][2]string
	width := 0
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() || sub.GroupID != group {
			continue
		}
		rows = append(rows, [2]string{sub.Name() + ":", sub.Short})
		width = max(width, len(sub.Name())+1)
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%-*s  %s\n", width, r[0], r[1])
	}
	return b.String()
}

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion <shell>",
		Short: "Print a completion script for bash, zsh, fish or powershell",
		Example: `$ sallyport completion bash > /etc/bash_completion.d/sallyport
$ sallyport completion zsh > "${fpath[1]}/_sallyport"
$ sallyport completion fish > ~/.config/fish/completions/sallyport.fish
PS> sallyport completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && slices.Contains(shells, args[0]) {
				return nil
			}
			return usage("name one shell: bash, zsh, fish or powershell")
		},
		RunE: func(c *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return c.Root().GenZshCompletion(a.stdout)
			case "fish":
				return c.Root().GenFishCompletion(a.stdout, true)
			default:
				return c.Root().GenPowerShellCompletionWithDesc(a.stdout)
			}
		},
	}
}
