# Make a C file that holds the bytes of FROM.
file(READ ${FROM} bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${TO} "#include \"status_page.h\"\n\nconst unsigned char status_page[] = {\n${bytes}};\nconst size_t status_page_len = sizeof status_page;\n")
