function _bertcli_completion;
    set -l response (env _BERTCLI_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) bertcli);

    for completion in $response;
        set -l metadata (string split "," $completion);

        if test $metadata[1] = "dir";
            __fish_complete_directories $metadata[2];
        else if test $metadata[1] = "file";
            set -l option (string match -r -- '^--[^=]*=' $metadata[2]);
            printf "%s\n" "$option"(__fish_complete_path (string replace -- "$option" "" $metadata[2]));
        else if test $metadata[1] = "plain";
            echo $metadata[2];
        end;
    end;
end;

complete --no-files --command bertcli --arguments "(_bertcli_completion)";

