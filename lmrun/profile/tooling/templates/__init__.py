"""What tools are declared with: command lines, requests and paths of results, with holes for
arguments. Pure; nothing is run or sent here."""
